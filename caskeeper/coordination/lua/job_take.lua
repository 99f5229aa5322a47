-- job_take: one execution of an operation at a time (queue.md 2.4); the same token may take it again.
-- KEYS  1 flight, 2 record of the job, 3 where the state of the job is stored, or none
-- ARGV  1 id, 2 token, 3 life_ms, 4 flight_ms, 5 record_ms, 6 '1' = joinable while it runs, 7 task, 8 lane,
--       9 subject, 10 name of the flight, 11 worker, 12 pid, 13 retries, 14 most jobs; with a third key:
--       15 the state that tells of the begin, 16 its life in seconds, 17.. the ends that stay
-- Answers OK, starts without an orderly end, for how many ms it has been at it, and the state that stays where the
-- job has ended by that | HELD, by whom | CANCELLED | ENDED.
local id, token = ARGV[1], ARGV[2]
local flight, job = hash(KEYS[1]), hash(KEYS[2])
if OVER[job.state] and job.state ~= 'cancelled' then
  return {'ENDED'}
end
local held = runs(flight) and flight.token ~= token

-- What the record says of the job itself; one that another program sent, or Redis has lost, has none yet.
local function describe()
  redis.call('HSET', KEYS[2], 'id', id, 'task', ARGV[7], 'lane', ARGV[8], 'subject', ARGV[9], 'flight', ARGV[10],
    'sent', '1')  -- whoever sent it may not have said so
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  if not job.sent_ms then
    redis.call('HSET', KEYS[2], 'sent_ms', int(NOW), 'who', '')
    add_waiter(WAITING .. id, 'sender', ARGV[4])  -- who does not tell for how long: somebody else's Ctrl-C ends nothing
  end
end

if (job.cancel == '1' or job.state == 'cancelled') and not (held and flight.running == id) then
  drop_next(KEYS[1], id)
  if not OVER[job.state] then
    describe()
    redis.call('HSET', KEYS[2], 'state', 'cancelled', 'ended_ms', int(NOW), 'error', 'Cancelled', 'exit_code', '26',
      'sentence', 'withdrawn by ' .. (job.cancel_who or '?'))
    redis.call('DEL', WAITING .. id)
    list_job(id, ARGV[5], ARGV[14])
  end
  return {'CANCELLED'}
end
if held then
  return {'HELD', flight.running .. ' on ' .. (record(flight.running).worker or '?')}
end
describe()
local starts, unended, first = whole(job.starts), whole(job.unended), whole(job.first_ms)
if not (flight.running == id and flight.token == token) then
  starts, unended = starts + 1, unended + 1
end
if first == 0 or first > NOW then
  first = NOW  -- or the clock was set back: it would never have spent its time
end
redis.call('HSET', KEYS[2], 'worker', ARGV[11], 'pid', ARGV[12], 'retries', ARGV[13], 'state', 'running',
  'begun_ms', int(NOW), 'ended_ms', '0', 'starts', int(starts), 'unended', int(unended), 'first_ms', int(first))
list_job(id, ARGV[5], ARGV[14])
drop_next(KEYS[1], id)
redis.call('HSET', KEYS[1], 'running', id, 'token', token, 'until_ms', int(NOW + tonumber(ARGV[3])),
  'joinable', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'OK', int(unended), int(NOW - first), KEYS[3] and keep_state(KEYS[3], 15)}
