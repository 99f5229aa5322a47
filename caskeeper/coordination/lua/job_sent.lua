-- job_sent: the message of an announced job is in the queue.
-- KEYS  1 its flight
-- ARGV  1 id, 2 flight_ms, 3 record_ms
-- Answers OK.
local key = RECORDS .. ARGV[1]
local job = record(ARGV[1])
if job.state then
  redis.call('HSET', key, 'sent', '1')
  redis.call('PEXPIRE', key, ARGV[3])
end
-- A worker may have been quicker.
if job.state == 'queued' and job.cancel ~= '1' then
  queue_up(KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {'OK'}
