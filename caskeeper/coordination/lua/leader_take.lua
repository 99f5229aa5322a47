-- leader_take: one beat of the fleet leads; the same one takes it again to stay it. Expiry is Redis TIME.
-- KEYS  1 caskeeper:leader
-- ARGV  1 token, 2 life in ms, 3 host
-- Answers OK, now_ms, then per entry its name and when it was last sent | HELD, the leader's host.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])  -- whatever it is, nobody of us wrote it
end
local lease = redis.call('HMGET', KEYS[1], 'holder', 'expires_ms', 'host')
if lease[1] and lease[1] ~= '' and lease[1] ~= ARGV[1] and (tonumber(lease[2] or '0') or 0) > now then
  return {'HELD', lease[3] or ''}
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'expires_ms', string.format('%.0f', now + tonumber(ARGV[2])),
  'host', ARGV[3])
local answer, flat = {'OK', string.format('%.0f', now)}, redis.call('HGETALL', KEYS[1])
for n = 1, #flat, 2 do
  local name, sent = string.match(flat[n], '^sent:(.*)$'), tonumber(flat[n + 1])
  if name and sent then
    answer[#answer + 1] = name
    answer[#answer + 1] = string.format('%.0f', sent)
  end
end
return answer
