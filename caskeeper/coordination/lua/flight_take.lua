-- flight_take: one sees to something for all; the same token may take it again.
-- KEYS  1 once:<what>
-- ARGV  1 token, 2 ttl_ms
-- Answers OK | HELD.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {'HELD'}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'OK'}
