-- flight_beat: the messages that a worker holds are in good hands; what Redis has lost of them comes back.
-- Where the beat before this one is not remembered, Redis was emptied or is an older one. Otherwise a message
-- that is not there was acknowledged or passed on, and stays away.
-- KEYS  1 beat:<holder>, 2 the transport's sorted set of held messages, 3 its hash of them
-- ARGV  1 the last beat that was answered, 2 this one, 3 the worker's time, 4 ttl_ms; then pairs: tag, message
-- Answers OK, how many came back.
local found = redis.pcall('GET', KEYS[1])
local lost = (tonumber(type(found) == 'string' and found or '') or 0) < tonumber(ARGV[1])
local back = 0
for n = 5, #ARGV, 2 do
  if lost and redis.call('HSETNX', KEYS[3], ARGV[n], ARGV[n + 1]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[n])
    back = back + 1
  else
    redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[n])
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
return {'OK', back}
