-- stats_add: totals for `stats`. Hints (I6): no prelude.
-- KEYS  1 stats
-- ARGV  1 how many fields are kept, 2.. per field: '+' to add or '=' to set, field, whole number
-- Answers OK.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
local since = redis.call('HGET', KEYS[1], 'since_ms')
if not since or not string.match(since, '^%d+$') then
  local clock = redis.call('TIME')
  local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('HSET', KEYS[1], 'since_ms', now)
end
local room = tonumber(ARGV[1]) - redis.call('HLEN', KEYS[1])
for n = 2, #ARGV, 3 do
  local field, value = ARGV[n + 1], ARGV[n + 2]
  local held = redis.call('HGET', KEYS[1], field)
  if held or room > 0 then
    if not held then
      room = room - 1
    end
    if ARGV[n] == '+' and held and string.match(held, '^%-?%d+$') and #held < 18 then
      redis.call('HINCRBY', KEYS[1], field, value)
    else
      redis.call('HSET', KEYS[1], field, value)
    end
  end
end
return {'OK'}
