-- flight_count: how often a task was delivered (queue.md 2.6).
-- KEYS  1 deliv:<task>
-- ARGV  1 ttl_ms
-- Answers OK, the count.
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'OK', count}
