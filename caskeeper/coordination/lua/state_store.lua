-- state_store: the state of a job, as the queue's library has it, unless it has ended by what is stored.
-- KEYS  1 the state's key
-- ARGV  1 the state, 2 its life in seconds, 3.. the ends that stay
-- Answers OK, and what is stored where that stays.
return {'OK', keep_state(KEYS[1], 1)}
