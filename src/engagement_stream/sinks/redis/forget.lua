#!lua
-- Deletes those of the keys that belong to no generation in use; answers how many.
-- KEYS[1] the partition's position; ARGV: tag, then keys of the partition that belong to some generation.
-- What is in use is asked here and not remembered: one who fell asleep in the middle of this must not wake up and delete
-- what a later rebuild has made.
local state = redis.call('HMGET', KEYS[1], 'generation', 'rebuilding')
local gone = {}
for i = 2, #ARGV do
  local generation = string.match(ARGV[i], '^(g%x+):', #ARGV[1] + 1) or ''
  if generation ~= (state[1] or '') and generation ~= (state[2] or '-') then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('UNLINK', unpack(gone))
