-- Items in random order. Arguments: the method, the first key, how many keys, and for PUT the value.
require("report")

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

-- All requests are made before the clock starts: sending one costs a look into an array.
function init(arguments)
  local method, first, value = arguments[1], tonumber(arguments[2]), arguments[4]
  count = tonumber(arguments[3])
  local body, headers
  if value then
    body, headers = '{"value":"' .. value .. '"}', { ["Content-Type"] = "application/json" }
  end
  local before, after = wrk.format(method, "/items/KEY", headers, body):match("^(.-)KEY(.*)$")
  requests = {}
  for n = 1, count do
    requests[n] = before .. (first + n - 1) .. after
  end
  math.randomseed(seed)
end

function request()
  return requests[math.random(count)]
end
