-- session_require: keys become required; which of them are condemned at this moment (safety.md section 4).
-- KEYS  1-7 as in prelude, and session:<id>
-- ARGV  1 '', 2 session, 3 life_ms of the configuration, 4 '1' = a session that is over is made anew, 5.. keys
-- Answers OK, the condemned keys | OVER | LOST | UNREADY.
if not READY then
  return {'UNREADY'}
end
local key = session_key(ARGV[2])
local text = redis.call('HGET', SESSIONS, ARGV[2])
local session = text and session_of(text)
if text and not session_whole(ARGV[2], session) then
  return {'LOST'}
end
if not session or not session_live(session) then
  if ARGV[4] ~= '1' then
    return {'OVER'}
  end
  redis.call('DEL', key)
  redis.call('SADD', key, 'epoch:' .. EPOCH)
  session = {
    size = '0',
    label = session and session.label or '',
    life_ms = session and session.life_ms,
    reopened = true,
  }
end
local size, answer = tonumber(session.size), {'OK'}
for n = 5, #ARGV do
  size = size + redis.call('SADD', key, ARGV[n])
  if redis.call('HEXISTS', CONDEMNED, 'key:' .. ARGV[n]) == 1 then
    answer[#answer + 1] = ARGV[n]
  end
end
session.size = int(size)
session.expires_ms = session_end(session, ARGV[3])
redis.call('HSET', SESSIONS, ARGV[2], cjson.encode(session))
return answer
