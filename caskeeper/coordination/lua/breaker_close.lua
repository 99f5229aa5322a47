-- breaker_close: a remote answered. How often it did not is remembered for a while.
-- KEYS  1 breakers
-- ARGV  1 url
-- Answers OK, 1 = it was left alone until now.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {'OK', 0}
end
local fine, found = pcall(cjson.decode, redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not fine or type(found) ~= 'table' or found.open ~= '1' then
  return {'OK', 0}
end
local record = {open = '0', until_ms = string.format('%.0f', now)}
for _, name in ipairs({'error', 'failures', 'since_ms'}) do
  record[name] = type(found[name]) == 'string' and found[name] or nil
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
return {'OK', 1}
