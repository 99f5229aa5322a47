-- begin_recount: everything ever added in this epoch, to be compared at the end of the scan.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder
-- Answers OK, added_total | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
return {'OK', redis.call('HGET', USAGE, 'added_total')}
