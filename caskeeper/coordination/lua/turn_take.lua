-- turn_take: one of a bounded number of places, for so long; whoever has one already has it longer.
-- KEYS  1 turns:<name>
-- ARGV  1 token, 2 how many places there are, 3 ttl_ms
-- Answers OK | FULL, each with how many are taken.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local ttl = tonumber(ARGV[3])
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
local function int(number)
  return string.format('%.0f', number)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
-- An end so far away is junk, or left by a clock that was set back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. int(now + math.max(10 * ttl, 600000)), '+inf')
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return {'FULL', redis.call('ZCARD', KEYS[1])}
end
redis.call('ZADD', KEYS[1], int(now + ttl), ARGV[1])
redis.call('PEXPIRE', KEYS[1], int(math.max(10 * ttl, 3600000)))
return {'OK', redis.call('ZCARD', KEYS[1])}
