-- clean_stop: the last word before an embedded server is stopped (safety.md section 7).
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 nonce
-- Answers OK, epoch | LOST.
redis.call('HSET', STATE, 'stop_nonce', ARGV[2])
return {'OK', EPOCH}
