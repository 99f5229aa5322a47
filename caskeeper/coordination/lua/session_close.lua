-- session_close: the session is over, its keys are not required by it any more.
-- KEYS  1-7 as in prelude, and session:<id>
-- ARGV  1 '', 2 session
-- Answers OK | LOST.
end_session(ARGV[2])
return {'OK'}
