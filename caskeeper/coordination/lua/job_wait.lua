-- job_wait: somebody waits for a job.
-- KEYS  1 waiters, 2 record
-- ARGV  1 waiter, 2 for_ms
-- Answers OK, then '1' when it was to end and nobody executes it any more, else ''.
add_waiter(KEYS[1], ARGV[1], ARGV[2])
local job = hash(KEYS[2])
local flight = hash(FLIGHTS .. (job.flight or ''))
local stays = runs(flight) and flight.running == job.id
return {'OK', job.cancel == '1' and job.state and not OVER[job.state] and not stays and '1' or ''}
