// The small models that tests compare engines on: the specimens that devices test themselves with.
export { random, specimenCore as tinyCore, specimenPackage as tinyPackage } from '../protocol/engine/specimen.ts'
