-- job_release: the execution is over. One that is put back or tried again stays its flight's next.
-- KEYS  1 flight, 2 record of the job
-- ARGV  1 id, 2 token, 3 flight_ms, 4 record_ms, 5 state, 6 error, 7 exit code, 8 sentence, 9 bytes
-- Answers OK | HELD: the execution was not this one's any more.
local flight, job = hash(KEYS[1]), hash(KEYS[2])
if OVER[job.state] or flight.running and flight.token ~= ARGV[2] then
  return {'HELD'}
end
land(KEYS[1])
redis.call('HSET', KEYS[2], 'id', ARGV[1], 'state', ARGV[5], 'error', ARGV[6], 'exit_code', ARGV[7],
  'sentence', ARGV[8], 'bytes', ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if OVER[ARGV[5]] then
  redis.call('HSET', KEYS[2], 'ended_ms', int(NOW), 'unended', '0')
  drop_next(KEYS[1], ARGV[1])
  redis.call('DEL', WAITING .. ARGV[1])
else
  if ARGV[5] == 'queued' and tonumber(job.unended or '0') > 0 then
    redis.call('HINCRBY', KEYS[2], 'unended', -1)  -- put back in good order: that start was none
    if redis.call('HINCRBY', KEYS[2], 'starts', -1) == 0 then
      redis.call('HDEL', KEYS[2], 'first_ms')
    end
  elseif ARGV[5] == 'retrying' then
    redis.call('HSET', KEYS[2], 'unended', '0')
  end
  queue_up(KEYS[1], ARGV[1], ARGV[3])
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {'OK'}
