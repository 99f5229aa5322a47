-- job_forget: a job that has ended although nobody released it is not its flight's any more.
-- KEYS  1 its flight, 2 its record
-- ARGV  1 id; then nothing, or how it ended: 2 state, 3 error, 4 exit code, 5 sentence, 6 bytes
-- Answers OK.
local flight = hash(KEYS[1])
drop_next(KEYS[1], ARGV[1])
if flight.running == ARGV[1] then
  land(KEYS[1])
end
local job = hash(KEYS[2])
if ARGV[2] and job.state and not OVER[job.state] then
  redis.call('HSET', KEYS[2], 'state', ARGV[2], 'error', ARGV[3], 'exit_code', ARGV[4], 'sentence', ARGV[5],
    'bytes', ARGV[6], 'ended_ms', int(NOW))
end
return {'OK'}
