--[[
bit: operations on the low 32 bits of numbers, results signed, as the BitOp library bundled with
Redis. The host does the operation itself: Lua 5.1 has none.
--]]
local host_bit, host_low_bits, number_argument = ...

local floor, format, select, sub, upper = math.floor, string.format, select, string.sub, string.upper

-- Adding and taking away 1.5 * 2^52 rounds to the nearest integer, ties to even.
local ROUND, EXACT = 6755399441055744, 2251799813685247

local function low_bits(value, index, name, present)
    local number = number_argument(value, index, name, present)
    if number > EXACT or number < -EXACT or number ~= number then
        -- Beyond the trick's range the library shows bits of the double itself.
        return host_low_bits(number)
    end
    return (number + ROUND - ROUND) % 4294967296
end

local function signed(value)
    return value >= 2147483648 and value - 4294967296 or value
end

local lib = {}

function lib.tobit(...)
    return signed(low_bits((...), 1, "tobit", select("#", ...) > 0))
end

function lib.bnot(...)
    return signed(4294967295 - low_bits((...), 1, "bnot", select("#", ...) > 0))
end

for code, name in ipairs({ "band", "bor", "bxor" }) do
    lib[name] = function(...)
        local count = select("#", ...)
        local result = low_bits((...), 1, name, count > 0)
        for i = 2, count do
            result = host_bit(code, result, low_bits((select(i, ...)), i, name, true))
        end
        return signed(result)
    end
end

for code, name in ipairs({ "lshift", "rshift", "arshift", "rol", "ror" }) do
    lib[name] = function(...)
        local count = select("#", ...)
        local value, by = ...
        value = low_bits(value, 1, name, count > 0)
        by = low_bits(by, 2, name, count > 1) % 32
        return signed(host_bit(code + 3, value, by))
    end
end

function lib.bswap(...)
    local value = low_bits((...), 1, "bswap", select("#", ...) > 0)
    return signed(value % 256 * 16777216 + floor(value / 256) % 256 * 65536
        + floor(value / 65536) % 256 * 256 + floor(value / 16777216))
end

function lib.tohex(...)
    local count = select("#", ...)
    local value, digits = ...
    value = low_bits(value, 1, "tohex", count > 0)
    digits = count > 1 and signed(low_bits(digits, 2, "tohex", true)) or 8
    local text = format("%08x", value)
    if digits < 0 then
        digits, text = -digits, upper(text)
    end
    return sub(text, digits < 8 and 9 - digits or 1)
end

return lib
