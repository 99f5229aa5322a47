-- give_back: what the holder's own unlinks freed is no longer used; anything stale changes nothing (I5).
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 freed bytes
-- Answers OK | UNKNOWN | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
elseif not KNOWN then
  return {'UNKNOWN'}
end
lower('used', ARGV[3])
return {'OK'}
