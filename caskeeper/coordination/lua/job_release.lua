-- job_release: the execution is over. One that is put back or tried again stays its flight's next.
-- With a third key the state that tells of the end is stored in the same step, whatever becomes of the rest: its
-- message is then done with, and the other execution may have none of its own that comes back.
-- KEYS  1 flight, 2 record of the job, 3 where the state of the job is stored, or none
-- ARGV  1 id, 2 token, 3 flight_ms, 4 record_ms, 5 state, 6 error, 7 exit code, 8 sentence, 9 bytes; with a third
--       key: 10 the state, 11 its life in seconds, 12.. the ends that stay
-- Answers OK | HELD: the job has ended, or another execution of it has begun. Then the state that stays, if one does.
local stays = KEYS[3] and keep_state(KEYS[3], 10)
local flight, job = hash(KEYS[1]), hash(KEYS[2])
local lost = flight.running and flight.token ~= ARGV[2]
if OVER[job.state] or lost and flight.running == ARGV[1] then
  return {'HELD', stays}
end
if not lost then  -- else another job has the lease, and nobody but this execution speaks for its job
  land(KEYS[1])
end
redis.call('HSET', KEYS[2], 'id', ARGV[1], 'state', ARGV[5], 'error', ARGV[6], 'exit_code', ARGV[7],
  'sentence', ARGV[8], 'bytes', ARGV[9], 'sent', '1')
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if OVER[ARGV[5]] then
  redis.call('HSET', KEYS[2], 'ended_ms', int(NOW), 'unended', '0')
  drop_next(KEYS[1], ARGV[1])
  redis.call('DEL', WAITING .. ARGV[1])
else
  if ARGV[5] == 'queued' and whole(job.unended) > 0 then
    local starts = math.max(0, whole(job.starts) - 1)  -- put back in good order: that start was none
    redis.call('HSET', KEYS[2], 'unended', int(whole(job.unended) - 1), 'starts', int(starts))
    if starts == 0 then
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
return {'OK', stays}
