-- leader_read: which beat leads. Changes nothing.
-- KEYS  1 caskeeper:leader
-- ARGV  1 life in ms
-- Answers OK, the host of the leader or ''.
local clock = redis.call('TIME')
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {'OK', ''}
end
local lease = redis.call('HMGET', KEYS[1], 'expires_ms', 'host')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local end_ms = lease[1] and #lease[1] <= 16 and string.match(lease[1], '^[1-9]%d*$') and tonumber(lease[1]) or 0
local goes_on = end_ms > now and end_ms <= now + math.max(10 * tonumber(ARGV[1]), 3600000)
return {'OK', goes_on and lease[2] or ''}
