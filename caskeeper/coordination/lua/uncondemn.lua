-- uncondemn: the names of a group may be used again.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3.. members as condemned
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
for n = 3, #ARGV do
  redis.call('HDEL', CONDEMNED, ARGV[n])
end
return {'OK'}
