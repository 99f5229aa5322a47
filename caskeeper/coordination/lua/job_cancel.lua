-- job_cancel: a job is to end, whoever waits, or when the waiter that leaves was the last one.
-- KEYS  1 record, 2 waiters
-- ARGV  1 id, 2 the waiter that leaves, '' = whoever waits, 3 who, 4 '1' = note it without a record as well,
--       5 record_ms
-- Answers OK, then: ended (queued until now) | running | over | waited | unknown; how many others wait.
local job = hash(KEYS[1])
local others = count_waiters(KEYS[2])
if ARGV[2] ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[2])
  others = count_waiters(KEYS[2])
end
if OVER[job.state] then
  return {'OK', 'over', int(others)}
end
if not job.state and ARGV[4] ~= '1' then
  return {'OK', 'unknown', int(others)}
end
if ARGV[2] ~= '' and others > 0 then
  return {'OK', 'waited', int(others)}
end
local who = job.cancel == '1' and job.cancel_who or ARGV[3]  -- whoever was the first
redis.call('HSET', KEYS[1], 'cancel', '1', 'cancel_who', who, 'cancel_ms', int(NOW))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if not job.state then
  return {'OK', 'ended', int(others)}
end
local key = FLIGHTS .. (job.flight or '')
local flight = hash(key)
if runs(flight) and flight.running == ARGV[1] then
  return {'OK', 'running', int(others)}
end
drop_next(key, ARGV[1])
if flight.running == ARGV[1] then
  land(key)  -- its worker has died: nobody is to begin it again
end
redis.call('HSET', KEYS[1], 'state', 'cancelled', 'ended_ms', int(NOW), 'error', 'Cancelled', 'exit_code', '26',
  'sentence', 'withdrawn by ' .. who)
return {'OK', 'ended', int(others)}
