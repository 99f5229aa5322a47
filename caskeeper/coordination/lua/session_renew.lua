-- session_renew: a live session lives on; an expired one is over for good. One that `session_require`
-- had to make anew lives on too, but its owner is told that keys marked earlier are not in it.
-- KEYS  1-7 as in prelude, and session:<id>
-- ARGV  1 '', 2 session, 3 life_ms of the configuration
-- Answers OK | OVER | LOST.
local text = redis.call('HGET', SESSIONS, ARGV[2])
local session = text and session_of(text)
if not text then
  return {'OVER'}
elseif not session_whole(ARGV[2], session) then
  return {'LOST'}
elseif not session_live(session) then
  end_session(ARGV[2])
  return {'OVER'}
end
session.expires_ms = session_end(session, ARGV[3])
redis.call('HSET', SESSIONS, ARGV[2], cjson.encode(session))
return {session.reopened and 'OVER' or 'OK'}
