-- recency_touch: refs were used now. A hint (I6): no part of the safety protocol, no prelude.
-- KEYS  1 recency
-- ARGV  1.. refs
-- Answers OK.
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
for n = 1, #ARGV do
  redis.call('ZADD', KEYS[1], 'GT', now, ARGV[n])
end
return {'OK'}
