-- session_open: a session begins, or goes on with the keys it has; its owner knows its present state.
-- KEYS  1-7 as in prelude, and session:<id>
-- ARGV  1 '', 2 session, 3 life_ms of the configuration, 4 label, 5 a life_ms of its own or ''
-- Answers OK | LOST | UNREADY.
if not READY then
  return {'UNREADY'}
end
local text = redis.call('HGET', SESSIONS, ARGV[2])
local session = text and session_of(text)
if text and not session_whole(ARGV[2], session) then
  return {'LOST'}
end
if not session or not session_live(session) then
  redis.call('DEL', session_key(ARGV[2]))
  redis.call('SADD', session_key(ARGV[2]), 'epoch:' .. EPOCH)
  session = {size = '0'}
end
session.label = ARGV[4]
if ARGV[5] ~= '' then
  session.life_ms = ARGV[5]
end
session.reopened = false
session.expires_ms = session_end(session, ARGV[3])
redis.call('HSET', SESSIONS, ARGV[2], cjson.encode(session))
return {'OK'}
