-- job_renew: the execution goes on; also when it was late, or Redis has lost it, and nobody else has begun.
-- KEYS  1 flight, 2 record of the job
-- ARGV  1 id, 2 token, 3 life_ms, 4 flight_ms
-- Answers OK, or LOST; then '1' when somebody wants its end, else ''; then '1' when there is no record of it, else ''.
local flight, job = hash(KEYS[1]), hash(KEYS[2])
local cancel = (job.cancel == '1' or job.state == 'cancelled') and '1' or ''
if runs(flight) and flight.token ~= ARGV[2] or OVER[job.state] then
  return {'LOST', cancel, ''}
end
redis.call('HSET', KEYS[1], 'running', ARGV[1], 'token', ARGV[2], 'until_ms', int(NOW + tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'OK', cancel, job.state and '' or '1'}
