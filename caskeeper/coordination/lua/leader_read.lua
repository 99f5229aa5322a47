-- leader_read: which beat leads. Changes nothing.
-- KEYS  1 caskeeper:leader
-- ARGV  -
-- Answers OK, the host of the leader or ''.
local clock = redis.call('TIME')
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {'OK', ''}
end
local lease = redis.call('HMGET', KEYS[1], 'expires_ms', 'host')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {'OK', (tonumber(lease[1] or '0') or 0) > now and lease[2] or ''}
