-- resume: the state that a clean stop saved is taken over by the server's next run.
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 epoch and 3 nonce of the mark
-- Answers OK, 1 = taken over, 0 = another state: whatever it is, it stays as it is.
if not whole_structures or EPOCH ~= ARGV[2] or not sessions_whole() or not operations_whole()
  or redis.call('HGET', STATE, 'stop_nonce') ~= ARGV[3] then
  return {'OK', 0}
end
redis.call('HDEL', STATE, 'stop_nonce')
redis.call('HSET', STATE, 'run_id', RUN_ID)
return {'OK', 1}
