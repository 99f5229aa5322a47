-- job_take: one execution of an operation at a time (queue.md 2.4); the same token may take it again.
-- KEYS  1 flight, 2 record of the job
-- ARGV  1 id, 2 token, 3 life_ms, 4 flight_ms, 5 record_ms, 6 '1' = joinable while it runs, 7 task, 8 lane,
--       9 subject, 10 name of the flight, 11 worker, 12 pid, 13 retries, 14 most jobs
-- Answers OK, starts without an orderly end, for how many ms it has been at it | HELD, by whom | CANCELLED | ENDED.
local id, token = ARGV[1], ARGV[2]
local flight, job = hash(KEYS[1]), hash(KEYS[2])
if OVER[job.state] and job.state ~= 'cancelled' then
  return {'ENDED'}
end
local held = runs(flight) and flight.token ~= token
if (job.cancel == '1' or job.state == 'cancelled') and not (held and flight.running == id) then
  drop_next(KEYS[1], id)
  if not OVER[job.state] then
    redis.call('HSET', KEYS[2], 'state', 'cancelled', 'ended_ms', int(NOW))
  end
  return {'CANCELLED'}
end
if held then
  return {'HELD', flight.running .. ' on ' .. (record(flight.running).worker or '?')}
end
if not job.sent_ms then
  redis.call('HSET', KEYS[2], 'sent_ms', int(NOW), 'who', '')
  list_job(id, ARGV[5], ARGV[14])
end
if not (flight.running == id and flight.token == token) then
  redis.call('HINCRBY', KEYS[2], 'starts', 1)
  redis.call('HINCRBY', KEYS[2], 'unended', 1)
end
redis.call('HSET', KEYS[2], 'id', id, 'task', ARGV[7], 'lane', ARGV[8], 'subject', ARGV[9],
  'flight', ARGV[10], 'worker', ARGV[11], 'pid', ARGV[12], 'retries', ARGV[13],
  'state', 'running', 'begun_ms', int(NOW), 'ended_ms', '0')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
drop_next(KEYS[1], id)
redis.call('HSET', KEYS[1], 'running', id, 'token', token, 'until_ms', int(NOW + tonumber(ARGV[3])),
  'joinable', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('HSETNX', KEYS[2], 'first_ms', int(NOW))
local first = time(redis.call('HGET', KEYS[2], 'first_ms'))
return {'OK', redis.call('HGET', KEYS[2], 'unended'), int(math.max(0, NOW - first))}
