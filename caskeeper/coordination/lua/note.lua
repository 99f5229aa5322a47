-- note: what became of refs, and their recency with it, in one round trip. Hints both (I6): no prelude.
-- KEYS  1 recency, 2 events
-- ARGV  1 'touch', 'forget' or '' = recency stays, 2 about how many entries are kept,
--       3.. per entry: ref, what ('' = no entry), the rest as JSON
-- Answers OK.
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
for n, kind in ipairs({'zset', 'stream'}) do
  if redis.call('TYPE', KEYS[n]).ok ~= kind then
    redis.call('DEL', KEYS[n])  -- whatever it is, nobody of us wrote it
  end
end
for n = 3, #ARGV, 3 do
  if ARGV[1] == 'touch' then
    redis.call('ZADD', KEYS[1], 'GT', now, ARGV[n])
  elseif ARGV[1] == 'forget' then
    redis.call('ZREM', KEYS[1], ARGV[n])
  end
  if ARGV[n + 1] ~= '' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*',
      'ref', ARGV[n], 'what', ARGV[n + 1], 'more', ARGV[n + 2])
  end
end
return {'OK'}
