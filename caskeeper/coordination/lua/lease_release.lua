-- lease_release: the maintenance lease is free, and nothing stays condemned.
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 holder
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
clear(CONDEMNED)
redis.call('HSET', CLEANUP, 'holder', '', 'expires_ms', '0', 'purpose', '')
return {'OK'}
