-- job_wait: somebody waits for a job.
-- KEYS  1 waiters
-- ARGV  1 waiter, 2 for_ms
-- Answers OK.
add_waiter(KEYS[1], ARGV[1], ARGV[2])
return {'OK'}
