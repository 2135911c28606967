//! Node.js bindings: conversion only, no maths.
