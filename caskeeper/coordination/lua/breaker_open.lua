-- breaker_open: a remote did not answer, and is left alone; each time in a row for twice as long.
-- KEYS  1 breakers
-- ARGV  1 url, 2 the error as JSON, 3 the first time in ms, 4 the longest, 5 the calm after which counting begins anew,
--       6 an end no script writes, so far away in ms, 7 how many remotes are remembered
-- Answers OK, for how long in ms, 1 = it was not left alone until now.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
local function time(text)
  return type(text) == 'string' and #text <= 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end
local function int(number)
  return string.format('%.0f', number)
end
local fine, record = pcall(cjson.decode, redis.call('HGET', KEYS[1], ARGV[1]) or '')
record = fine and type(record) == 'table' and record or {}
local until_ms, failures = time(record.until_ms) or 0, time(record.failures) or 0
local far = now + tonumber(ARGV[6])
local was_open = record.open == '1' and until_ms <= far
if now - until_ms > tonumber(ARGV[5]) or until_ms > far then
  failures, was_open = 0, false
end
-- Whoever was on the way when it was left alone says nothing new.
if not (was_open and until_ms > now) then
  failures = math.min(failures + 1, 20)
  until_ms = now + math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) * 2 ^ (failures - 1))
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({open = '1', error = ARGV[2], until_ms = int(until_ms),
  failures = int(failures), since_ms = was_open and time(record.since_ms) and record.since_ms or int(now)}))
-- A request may name remotes of its own, so their number has no bound: those over longest ago are forgotten.
local most = tonumber(ARGV[7])
if redis.call('HLEN', KEYS[1]) > most then
  local ends, flat = {}, redis.call('HGETALL', KEYS[1])
  for n = 1, #flat, 2 do
    if flat[n] ~= ARGV[1] then
      local readable, found = pcall(cjson.decode, flat[n + 1])
      ends[#ends + 1] = {flat[n], readable and type(found) == 'table' and time(found.until_ms) or 0}
    end
  end
  table.sort(ends, function(one, other) return one[2] < other[2] end)
  for n = 1, #ends - most + 1 do
    redis.call('HDEL', KEYS[1], ends[n][1])
  end
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return {'OK', int(until_ms - now), was_open and 0 or 1}
