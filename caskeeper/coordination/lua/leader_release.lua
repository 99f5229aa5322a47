-- leader_release: another beat may lead at once; when what was last sent stays.
-- KEYS  1 caskeeper:leader
-- ARGV  1 token
-- Answers OK | HELD.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return {'HELD'}
end
redis.call('HSET', KEYS[1], 'holder', '', 'expires_ms', '0', 'host', '')
return {'OK'}
