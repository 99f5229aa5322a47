-- sessions_live: the sessions that have not expired. Changes nothing.
-- KEYS  1-7 as in prelude, and every session:<id>
-- ARGV  1 '', 2 '1' = with their keys
-- Answers OK, then per session {id, label, expires_ms, size, keys ...} | LOST.
if not sessions_whole() then
  return {'LOST'}
end
local answer = {'OK'}
for id, text in pairs(entries(SESSIONS)) do
  local session = session_of(text)
  if session_live(session) then
    local row = {id, session.label, session.expires_ms, session.size}
    if ARGV[2] == '1' then
      for _, key in ipairs(redis.call('SMEMBERS', session_key(id))) do
        if key ~= 'epoch:' .. EPOCH then
          row[#row + 1] = key
        end
      end
    end
    answer[#answer + 1] = row
  end
end
return answer
