-- job_leave: somebody waits no longer.
-- KEYS  1 waiters
-- ARGV  1 waiter
-- Answers OK, how many others wait.
clear_other(KEYS[1], 'zset')
redis.call('ZREM', KEYS[1], ARGV[1])
return {'OK', int(count_waiters(KEYS[1]))}
