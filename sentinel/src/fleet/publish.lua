-- Tells words that are newer than what is known of their subjects, and forgets those that are over.
-- KEYS: stream, words by subject, subjects by end. ARGV: entries to keep, ms now, then subject, version, mac, body and end (ms)
-- of each word. Answers 1 for each that was told, 0 for each that everybody knew better.
local told = {}
for at = 3, #ARGV, 5 do
    local subject, version, mac, body, ends = unpack(ARGV, at, at + 4)
    local known = redis.call('HGET', KEYS[2], subject)
    if known and string.match(known, '^[^\n]*') >= version then
        told[#told + 1] = 0
    else
        redis.call('HSET', KEYS[2], subject, version .. '\n' .. mac .. '\n' .. body)
        redis.call('ZADD', KEYS[3], ends, subject)
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'm', mac, 'b', body)
        told[#told + 1] = 1
    end
end
local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', 0, 64)
if #over > 0 then
    redis.call('HDEL', KEYS[2], unpack(over))
    redis.call('ZREM', KEYS[3], unpack(over))
end
return told
