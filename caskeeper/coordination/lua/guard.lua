-- guard: put between prelude and script; only state, create, acquire and resume do without.
if LOST or (ARGV[1] ~= '' and ARGV[1] ~= EPOCH) then
  return {'LOST'}
end
