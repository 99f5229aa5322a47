-- session_require: keys become required; which of them are condemned at this moment (safety.md section 4).
-- KEYS  1-7 as in prelude, and session:<id>
-- ARGV  1 '', 2 session, 3 life_ms, 4.. keys
-- Answers OK, the condemned keys | LOST | UNREADY.
if not READY then
  return {'UNREADY'}
end
local key = session_key(ARGV[2])
local text = redis.call('HGET', SESSIONS, ARGV[2])
local session = text and cjson.decode(text)
if session and not session_whole(ARGV[2], session) then
  return {'LOST'}
end
if not session or not session_live(session) then
  redis.call('DEL', key)
  redis.call('SADD', key, 'epoch:' .. EPOCH)
  session = {size = '0', label = session and session.label or '', reopened = true}
end
local size, answer = tonumber(session.size), {'OK'}
for n = 4, #ARGV do
  size = size + redis.call('SADD', key, ARGV[n])
  if redis.call('HEXISTS', CONDEMNED, 'key:' .. ARGV[n]) == 1 then
    answer[#answer + 1] = ARGV[n]
  end
end
session.size = int(size)
session.expires_ms = int(NOW + tonumber(ARGV[3]))
redis.call('HSET', SESSIONS, ARGV[2], cjson.encode(session))
return answer
