-- expect: before ready, the operations of before a loss are known again with what they had said on the volume
-- that they may still add. They come back (register), or they expire and are converted like any other: until
-- then nobody is given what they may still write (I5).
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 life_ms, 4.. operation, verb, reserved bytes
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
elseif READY then
  return {'OK'}
end
clear(OPERATIONS)  -- what an earlier holder had expected, if it came no further
local reserved = 0
for n = 4, #ARGV, 3 do
  if reserved + tonumber(ARGV[n + 2]) > MOST / 4 then
    ARGV[n + 2] = '0'  -- no disk is so large: nothing of ours, and a sum that is not exact says lost
  end
  keep_operation(ARGV[n], {verb = ARGV[n + 1], subject = 'that has not come back since Redis was lost',
    host = 'an unknown host', started_ms = int(NOW), expires_ms = int(NOW + tonumber(ARGV[3])),
    reserved_bytes = ARGV[n + 2], dying = false, expected = true, claims = {}})
  reserved = reserved + tonumber(ARGV[n + 2])
end
redis.call('HSET', USAGE, 'reserved', int(reserved))
return {'OK'}
