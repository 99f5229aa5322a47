-- set_provisional: a first count of a lost state; once operations may register it is too late.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 used bytes
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
if not READY then
  redis.call('HSET', USAGE, 'used', ARGV[3])
end
return {'OK'}
