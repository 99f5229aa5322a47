-- flight_take: one execution of a task at a time (queue.md 2.4); the same token may take it again.
-- KEYS  1 exec:<task>
-- ARGV  1 token, 2 ttl_ms
-- Answers OK | HELD.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {'HELD'}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'OK'}
