-- state: what the shared state is, also when it is lost. Changes nothing.
-- KEYS  1-7 as in prelude
-- ARGV  -
-- Answers OK, epoch or '', lost, ready, known, evict_from_ms, now_ms; used, reserved, added_total, converted, 0 if lost.
local lost = LOST or not sessions_whole() or not operations_whole()
return {'OK', EPOCH or '', lost and 1 or 0, READY and not lost and 1 or 0, KNOWN and not lost and 1 or 0,
  int(EVICT_FROM), int(NOW), lost and '0' or counters[2], lost and '0' or counters[3], lost and '0' or counters[4],
  lost and '0' or counters[5]}
