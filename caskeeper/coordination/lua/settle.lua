-- settle: the end of an operation; what it added counts as used, and the rest of its reservation goes.
-- A dying one keeps that rest: its staged bytes may still lie in a trash folder, so only the cleanup
-- that has removed them converts it (drop_dead), and nothing is understated meanwhile (I5). So does one whose
-- folder was taken away before a cleanup knew of it, and one that ended while somebody worked under it, or that may
-- have told more as added than it was: «converted» has upkeep ask for the recount that removes it and finds the truth,
-- and «ended» tells a recount that has reaped already of it.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 added bytes, 4 '1' = one of these three
-- Answers OK | LOST | GONE.
local record, why = operation(ARGV[2])
if not record then
  return {why}
end
add_used(ARGV[3])
if ARGV[4] == '1' then
  record.dying, record.ended = true, true
end
if record.dying then
  local less = math.min(tonumber(record.reserved_bytes), tonumber(ARGV[3]))
  lower('reserved', int(less))
  record.reserved_bytes = int(tonumber(record.reserved_bytes) - less)
  if record.ended then  -- whoever recounts for it removes it first; what it counted may be too much, too
    redis.call('HINCRBY', USAGE, 'converted', int(math.max(1, tonumber(record.reserved_bytes))))
  end
  keep_operation(ARGV[2], record)
else
  drop_operation(ARGV[2], record)
end
return {'OK'}
