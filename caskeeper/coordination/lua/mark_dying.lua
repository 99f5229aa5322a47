-- mark_dying: expired operations can neither renew nor hold from here on; expired sessions end.
-- KEYS  1-7 as in prelude, and every session:<id>
-- ARGV  1 epoch, 2 holder
-- Answers OK, every dying operation | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
for id, text in pairs(entries(SESSIONS)) do
  if not session_live(cjson.decode(text)) then
    end_session(id)
  end
end
local answer = {'OK'}
for id, text in pairs(entries(OPERATIONS)) do
  local record = cjson.decode(text)
  if not record.dying and tonumber(record.expires_ms) <= NOW then
    record.dying = true
    keep_operation(id, record)
  end
  if record.dying then
    answer[#answer + 1] = id
  end
end
return answer
