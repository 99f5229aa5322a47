-- job_join: the job that stands for an operation: the one that is there, else the offered one.
-- Of the operation itself and of those that would satisfy it: what has not begun is joined always, what runs
-- only when it says so; also one whose execution was not renewed for a moment, for it is delivered again.
-- KEYS  1 flight of the operation, 2.. flights that would satisfy it
-- ARGV  1 id, 2 pending_ms, 3 recovery_ms, 4 flight_ms, 5 record_ms, 6 wait_ms, 7 most jobs, 8 waiter,
--       9 task, 10 lane, 11 subject, 12 who, 13 where the state of the offered one is stored unless one is there,
--       '' = nowhere, 14 that state, 15 its life in seconds, 16.. the names of the flights
-- Answers OK, id, '1' = the offered one, '1' = its message was sent, the name of its flight.
local id = ARGV[1]
local function answer(chosen, sent, flight)
  add_waiter(WAITING .. chosen, ARGV[8], ARGV[6])
  return {'OK', chosen, chosen == id and '1' or '0', sent and '1' or '0', flight}
end
for n = 1, #KEYS do
  local flight = hash(KEYS[n])
  local queued, running = flight.next, flight.running
  if queued and queued ~= id and whole(flight.next_until_ms) > NOW and goes_on(queued) then
    -- One that was announced a moment ago counts for much less time than one that was sent.
    return answer(queued, record(queued).sent == '1', ARGV[15 + n])
  end
  if running ~= id and flight.joinable == '1' and runs(flight, ARGV[3]) and goes_on(running) then
    return answer(running, true, ARGV[15 + n])
  end
end
local key, state = RECORDS .. id, record(id).state
-- Asked again by one who did not hear the first answer: a worker may have begun it since, and then it is not next.
if not state or state == 'queued' then
  redis.call('HSET', KEYS[1], 'next', id, 'next_until_ms', int(NOW + tonumber(ARGV[2])))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if not state then
  redis.call('HSET', key, 'id', id, 'task', ARGV[9], 'lane', ARGV[10], 'subject', ARGV[11], 'who', ARGV[12],
    'flight', ARGV[16], 'sent_ms', int(NOW), 'state', 'queued')
end
redis.call('PEXPIRE', key, record(id).sent == '1' and ARGV[5] or ARGV[3])  -- its sender may die before it is sent
list_job(id, ARGV[5], ARGV[7])
if ARGV[13] ~= '' then
  redis.call('SET', ARGV[13], ARGV[14], 'EX', ARGV[15], 'NX')
end
return answer(id, false, ARGV[16])
