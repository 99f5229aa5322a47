-- leader_take: one beat of the fleet leads; the same one takes it again to stay it. Expiry is Redis TIME.
-- KEYS  1 caskeeper:leader
-- ARGV  1 token, 2 life in ms, 3 host
-- Answers OK, now_ms, then per entry its name and when it was last sent | HELD, the leader's host.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
-- A time, written as a script writes it; nil for everything else.
local function time(text)
  return text and #text <= 16 and string.match(text, '^[1-9]%d*$') and tonumber(text) or nil
end
local lease = redis.call('HMGET', KEYS[1], 'holder', 'expires_ms', 'host')
local end_ms = time(lease[2]) or 0
-- An end so far away is junk, or left by a clock that was set back: nobody leads then.
local goes_on = end_ms > now and end_ms <= now + math.max(10 * tonumber(ARGV[2]), 3600000)
if lease[1] and lease[1] ~= '' and lease[1] ~= ARGV[1] and goes_on then
  return {'HELD', lease[3] or ''}
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'expires_ms', string.format('%.0f', now + tonumber(ARGV[2])),
  'host', ARGV[3])
local answer, flat = {'OK', string.format('%.0f', now)}, redis.call('HGETALL', KEYS[1])
for n = 1, #flat, 2 do
  local name, sent = string.match(flat[n], '^sent:([ -~]*)$'), time(flat[n + 1])
  if name and sent then
    answer[#answer + 1] = name
    answer[#answer + 1] = string.format('%.0f', math.min(sent, now))
  elseif flat[n] ~= 'holder' and flat[n] ~= 'expires_ms' and flat[n] ~= 'host' then
    redis.call('HDEL', KEYS[1], flat[n])  -- an entry begins anew with the next that is sent
  end
end
return answer
