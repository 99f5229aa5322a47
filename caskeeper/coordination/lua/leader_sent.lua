-- leader_sent: an entry of the schedule was put into the queue now, by whoever leads.
-- KEYS  1 caskeeper:leader
-- ARGV  1 token, 2 the entry's name
-- Answers OK | HELD.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return {'HELD'}
end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'sent:' .. ARGV[2],
  string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)))
return {'OK'}
