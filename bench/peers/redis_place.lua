-- One order: KEYS = stock of the SKU, the order; ARGV = quantity, customer, due.
-- Answers 1 held, 0 short, or the state of an order known already.
if redis.call('exists', KEYS[2]) == 1 then
    return redis.call('hget', KEYS[2], 'state')
end
local available = redis.call('get', KEYS[1])
if not available or tonumber(available) < tonumber(ARGV[1]) then
    return 0
end
redis.call('decrby', KEYS[1], ARGV[1])
redis.call('hset', KEYS[2], 'sku', KEYS[1], 'qty', ARGV[1], 'cust', ARGV[2], 'state', 'held')
redis.call('zadd', 'due', ARGV[3], KEYS[2])
return 1
