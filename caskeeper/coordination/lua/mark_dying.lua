-- mark_dying: expired operations can neither renew nor hold from here on, nor can those that are expected yet: it
-- runs after the waiting period only, and a cleanup may by now take what they had claimed. Expired sessions end.
-- Claims are counted anew from the records: one that was lost or left over protects neither too little nor for ever.
-- KEYS  1-7 as in prelude, and every session:<id>
-- ARGV  1 epoch, 2 holder
-- Answers OK, every dying operation | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
if not sessions_whole() or not operations_whole() then
  return {'LOST'}
end
for id, text in pairs(entries(SESSIONS)) do
  if not session_live(session_of(text)) then
    end_session(id)
  end
end
clear(CLAIMS)
local answer = {'OK'}
for id, text in pairs(entries(OPERATIONS)) do
  local record = operation_of(text)
  for _, member in ipairs(record.claims) do
    count_claim(member, 1)
  end
  if not record.dying and (record.expected or not goes_on(record.expires_ms, '0', MONTH)) then
    record.dying = true
    keep_operation(id, record)
  end
  if record.dying then
    answer[#answer + 1] = id
  end
end
return answer
